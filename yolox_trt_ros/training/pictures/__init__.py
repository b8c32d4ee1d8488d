"""From labelled data to batches: letterboxed pictures, their order, augmentation."""

"""The checks of `doctor`, one module for each kind of thing that can be wrong."""

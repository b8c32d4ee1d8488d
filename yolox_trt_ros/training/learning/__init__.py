"""What a step does: label assignment, loss, optimiser, precision, average, memory."""

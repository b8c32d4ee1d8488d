"""Labelled pictures: reading, checking and writing data sets of several formats."""

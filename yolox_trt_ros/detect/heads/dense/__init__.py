"""Heads that give a box and scores for each of many anchors, whatever their family."""

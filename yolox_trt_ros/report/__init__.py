"""From what a node published to one page for people: recording → findings → drawings → HTML."""

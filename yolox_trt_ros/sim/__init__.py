"""Camera sources that need no hardware: a rendered world and the rig that looks at it."""

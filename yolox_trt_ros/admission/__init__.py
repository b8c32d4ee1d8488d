"""Which of a camera's images go on to the lanes: how many, and what they may cost the others."""

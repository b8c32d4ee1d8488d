"""Messages in: subscriptions, serialised images to frames, what is wrong around a camera."""

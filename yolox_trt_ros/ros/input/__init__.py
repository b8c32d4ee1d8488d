"""Messages in: subscriptions, input modes, serialised images to frames, problems of cameras."""

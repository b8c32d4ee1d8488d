"""The middleware: its settings, profiles and shared memory."""

"""What the commands share: options, console, standard output, sources of pictures, report files."""

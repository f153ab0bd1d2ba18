"""What the command line takes: each file adds the commands of one kind. Heavy libraries are imported when a command runs."""

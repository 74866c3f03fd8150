"""The subcommands of ``python -m fastinit``, one file each."""

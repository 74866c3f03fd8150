"""Frameworks whose own initialisation fastinit takes over; each module imports its framework only when it is used."""

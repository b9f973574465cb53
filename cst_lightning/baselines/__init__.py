"""Every system of the comparison, one file each."""

"""What ``featherweight lottery`` is asked for, and its steps."""

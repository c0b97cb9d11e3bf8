"""Students alone and with a teacher, on the same data, for as many steps."""

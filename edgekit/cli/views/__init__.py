"""What verbs print of values from several rooms: tables, lines, plain JSON values."""

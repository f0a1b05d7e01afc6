"""Many rows of one kind of work, on all cores or on Ray: pure functions of a row, each output there exactly once."""

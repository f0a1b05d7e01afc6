"""What the machine allows: files that appear whole, and memory that is free. Imports nothing of ours."""

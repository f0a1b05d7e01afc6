"""The world model in pure torch: transformer, codecs, text, and the files they live in. Knows no node and no host."""

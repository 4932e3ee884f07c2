"""What a notebook shows: figures, the live training view, and interactive panels."""

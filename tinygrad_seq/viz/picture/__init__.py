"""What a picture is made of, and how it looks."""

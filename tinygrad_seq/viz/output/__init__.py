"""Pictures as text, files and pages."""

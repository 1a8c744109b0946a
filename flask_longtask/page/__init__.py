"""The browser's side: templates, style sheet, script, and where nanobar comes from. No route lives here."""

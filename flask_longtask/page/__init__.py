"""The browser's side: templates, style sheets, scripts, and the source of nanobar. No route lives here."""

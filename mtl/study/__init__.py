"""Transfer studies: which task helps which, with evidence."""

"""Transfer studies, which measure how tasks help each other."""

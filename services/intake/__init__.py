"""Intake owns the registration of cases and the words of residents: supplements, repeats, ratings."""

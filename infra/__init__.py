"""What runs caseflow: the embedded servers, the generated files, the checks of the house rules."""

"""What an operator runs on an installation: doctor, rebuild."""

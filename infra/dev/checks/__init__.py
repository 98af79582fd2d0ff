"""The house rules that look at more than one module; `infra.dev.house_rules` runs them all."""

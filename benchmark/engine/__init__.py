"""From a plan to records: features, heads, rollouts, on the machine that is found."""

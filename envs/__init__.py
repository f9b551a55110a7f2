"""Tasks: environments, success rules, experts, demonstrations and initial states."""

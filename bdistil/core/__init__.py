"""The method itself: game, losses, students, ensemble and cost; torch and numpy only."""

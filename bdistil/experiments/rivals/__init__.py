"""Other ensemble distillation, on the same teachers, splits, student classes, costs and tuning."""

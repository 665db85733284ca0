"""Does MixIT pre-training help? A grid of small trainings answers."""

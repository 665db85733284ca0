"""Result tables for people and programs."""

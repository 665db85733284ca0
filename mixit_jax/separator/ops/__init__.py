"""Operations of the separator: a plain definition each, and what a platform needs."""

"""Operations of the separator: plain definitions, and variants for some platforms."""

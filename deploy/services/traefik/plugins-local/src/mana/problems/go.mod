module mana/problems

go 1.22

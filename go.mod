module loquetier

go 1.26

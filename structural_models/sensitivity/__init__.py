"""How much would it take, of what nobody measured or measured wrongly, to change what was found? One file each."""

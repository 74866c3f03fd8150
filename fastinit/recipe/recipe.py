class Recipe: pass

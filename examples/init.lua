require("mercury").setup({
  settings = { max_tokens = 32, multiline = "never" },
})

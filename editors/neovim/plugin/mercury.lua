--- Defines `:Mercury` before `require("mercury").setup()` is called: it tells the user to call `setup`.

if vim.fn.has("nvim-0.11") == 0 or vim.fn.exists(":Mercury") == 2 then
  return
end

vim.api.nvim_create_user_command("Mercury", function()
  vim.notify('mercury: it is not set up yet. Put require("mercury").setup() into your init.lua.', vim.log.levels.WARN)
end, { nargs = "*", desc = "Suggestions of mercury-lsp" })

--- A suggestion as a value: what it would write, where, and what of it is left after some of it was typed. Knows the
--- buffer's text, but neither who asked nor how it is drawn.

local M = {}

---@class mercury.Suggestion
---@field buf integer
---@field client_id integer whose it is
---@field row integer where it begins, from 0
---@field col integer in bytes, from 0
---@field text string all of it, from there on; its lines end at \n
---@field tail string what stood behind the cursor in its line when it was asked for
---@field replaced integer bytes of the tail that it replaces
---@field command? lsp.Command to be run when it was accepted

---@class mercury.Place where something was asked for
---@field row integer
---@field col integer
---@field tail string

--- The cursor of the current window, from 0, and what stands behind it in its line.
---@return mercury.Place
function M.here()
  local row, col = unpack(vim.api.nvim_win_get_cursor(0))
  return { row = row - 1, col = col, tail = vim.api.nvim_get_current_line():sub(col + 1) }
end

--- A server's item, asked for at `place` in a buffer. The text of a file with Windows' line ends has them too.
---@param item lsp.InlineCompletionItem
---@param client vim.lsp.Client
---@param buf integer
---@param place mercury.Place
---@return mercury.Suggestion?
function M.of(item, client, buf, place)
  if type(item.insertText) ~= "string" then
    return nil -- a snippet, which our server never sends
  end
  local start, stop = place.col, place.col
  if item.range then
    local line = vim.api.nvim_buf_get_lines(buf, place.row, place.row + 1, false)[1] or ""
    start = vim.str_byteindex(line, client.offset_encoding, item.range.start.character, false)
    stop = vim.str_byteindex(line, client.offset_encoding, item.range["end"].character, false)
  end
  return {
    buf = buf,
    client_id = client.id,
    row = place.row,
    col = start,
    text = (item.insertText:gsub("\r\n?", "\n")),
    tail = place.tail,
    replaced = math.max(0, stop - place.col),
    command = item.command,
  }
end

--- What of it is still to come behind the cursor; nil where the text is not what it began with any more, or nothing is.
---@param suggestion mercury.Suggestion
---@return string?
function M.rest(suggestion)
  if vim.api.nvim_get_current_buf() ~= suggestion.buf then
    return nil
  end
  local here = M.here()
  local before = here.row < suggestion.row or here.row == suggestion.row and here.col < suggestion.col
  if before or here.tail ~= suggestion.tail or suggestion.row >= vim.api.nvim_buf_line_count(0) then
    return nil
  end
  local first = vim.api.nvim_buf_get_lines(0, suggestion.row, suggestion.row + 1, false)[1]
  if #first < suggestion.col then
    return nil
  end
  local typed = vim.api.nvim_buf_get_text(0, suggestion.row, suggestion.col, here.row, here.col, {})
  local text = table.concat(typed, "\n")
  if not vim.startswith(suggestion.text, text) or #text == #suggestion.text then
    return nil
  end
  return suggestion.text:sub(#text + 1)
end

--- The next word of a text: blanks, and then what 'iskeyword' takes for a word, or a run of other signs.
---@param rest string
---@return string
function M.word(rest)
  local found = vim.fn.matchstr(rest, [=[^\_s*\%(\k\+\|[^[:keyword:][:space:]]\+\)]=])
  return found ~= "" and found or rest
end

--- The text to the end of its line; where that is nothing, the line end and the next line.
---@param rest string
---@return string
function M.line(rest)
  return rest:match("^\n*[^\n]*")
end

--- Put the beginning of what is left in at the cursor. Whether that was all of it, and what it replaces is gone.
---@param suggestion mercury.Suggestion
---@param rest string
---@param part string
---@return boolean
function M.put(suggestion, rest, part)
  local here, whole = M.here(), part == rest
  local lines = vim.split(part, "\n", { plain = true })
  vim.cmd("let &g:undolevels = &g:undolevels") -- so that `u` takes back just this
  local stop = here.col + (whole and suggestion.replaced or 0)
  vim.api.nvim_buf_set_text(0, here.row, here.col, here.row, stop, lines)
  local col = #lines[#lines] + (#lines == 1 and here.col or 0)
  vim.api.nvim_win_set_cursor(0, { here.row + #lines, col })
  return whole
end

return M

package policy

// Text is a text that owners see, in each language. Others script against its names.
type Text struct {
	Italian string `json:"it"`
	English string `json:"en"`
}

// In returns the text in a language; in Italian if the language is unknown.
func (t Text) In(l Language) string {
	if l == English {
		return t.English
	}
	return t.Italian
}

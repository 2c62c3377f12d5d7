package httpd

import (
	"encoding"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"copialettere/journal/search"
	"copialettere/policy"
)

// describer writes the description.
type describer struct {
	t       *testing.T
	schemas object
	types   map[string]reflect.Type // of the schemas, by name
	docs    map[string]string       // comments by "package path.Type" and "package path.Type.Field"
	read    map[string]bool         // package paths of which docs has the comments
}

func newDescriber(t *testing.T) *describer {
	return &describer{t, make(object), make(map[string]reflect.Type), make(map[string]string), make(map[string]bool)}
}

func (d *describer) document() []byte {
	paths := make(object)
	for _, r := range Routes() {
		path := Prefix + r.Path
		item, ok := paths[path].(object)
		if !ok {
			item = make(object)
			paths[path] = item
			if segments := r.Segments(); segments != nil {
				item["parameters"] = segmentParameters(segments)
			}
		}
		item[strings.ToLower(r.Method)] = d.operation(&r)
	}
	d.schema(reflect.TypeFor[Problem]())
	names := []string{typeOf("method"), typeOf("fault"), typeOf("cross-origin")}
	for _, k := range problems {
		names = append(names, typeOf(k.name))
	}
	slices.Sort(names)
	d.schemas["Problem"].(object)["properties"].(object)["type"].(object)["description"] = "names the kind of problem: " + strings.Join(names, ", ")
	problem := object{"description": "What went wrong (RFC 9457).", "content": object{problemType: object{"schema": d.schema(reflect.TypeFor[Problem]())}}}
	b, err := json.MarshalIndent(object{
		"openapi": "3.1.0",
		"info": object{
			"title": "copialettere", "version": "1",
			"description": "The archives of the mailboxes of a mail provider. The same routes are behind two doors: that for programs of the provider, which " +
				"have a token for the mailboxes of one domain, and the admin socket, whose programs may do everything and name the operator with who.\n\n" +
				"Where an answer has many objects it comes as it is made, however long it is. An error in its middle is the member \"problem\" beside the " +
				"items. To those who accept application/x-ndjson the objects come one a line, and then the last line is {\"problem\": ...} or {\"next\": ...}.\n\n" +
				"New members, parameters and routes are no new version: pass over what you do not know.",
		},
		"security": []object{{"token": []string{}}},
		"paths":    paths,
		"components": object{
			"schemas": d.schemas, "responses": object{"Problem": problem},
			"securitySchemes": object{"token": object{"type": "http", "scheme": "bearer", "description": "As \"copialettere token add\" prints it."}},
		},
	}, "", " ")
	if err != nil {
		d.t.Fatal(err)
	}
	return append(b, '\n')
}

// segmentTexts describe what stands in braces in paths.
var segmentTexts = map[string]string{
	"mailbox": "its address; of a closed archive the name with the day: mario@alpha.test~2026-11-29",
	"folder":  "with its month, percent-encoded: INBOX%2F2026-11",
	"uid":     "its number in the folder",
	"part":    "its number in the list of parts: 1.3.2",
	"name":    "as it was given",
	"person":  "the address of the delegate",
	"month":   "such as 2026-11",
}

func segmentParameters(names []string) (list []object) {
	for _, name := range names {
		kind := "string"
		if name == "uid" {
			kind = "integer"
		}
		list = append(list, object{"name": name, "in": "path", "required": true, "description": segmentTexts[name], "schema": object{"type": kind}})
	}
	return list
}

// parameterTexts describe the parameters of queries: by name, or by path and name where a route has a meaning of its own.
var parameterTexts = map[string]string{
	"domain":  "only of this domain; without it, of all domains that the caller may see",
	"all":     "also the entries that a move or a deletion has superseded",
	"hold":    "the files stay until the connection is closed; without it, they are gone when the answer ends",
	"others":  "the archives of others are searched too, which takes long",
	"dry_run": "tells what would change, and changes nothing",
	"from":    "the body has lines, one mailbox each, and this is what errors call them; without it the body is not read",
	"set":     "a setting for all of these mailboxes, as KEY=VALUE; may be repeated",
	"folder":  "INBOX/2026-11 or Sent/2026-11; INBOX or Sent for all months of it; 2026-11 for all folders of the month; without it, all folders but the trash",
	"after":   "\"next\" of the page before, as it is; without it, the first page",
	"limit":   fmt.Sprintf("how many a page has, at most: 1 to %d, otherwise %d", search.MaxLimit, defaultLimit),
	"q": "What is searched for, as people type it. Words are looked for in senders, recipients, subjects and names of files, also of the message inside certified mail; " +
		"\"words in quotes\" stand together. All must hold. One field: from:, to:, subject:, file:, class: (such as " + strings.Join(search.Classes()[:3], ", ") +
		", receipts), direction:received or sent, since:2026-11-01, until:2026-11-30 (days in UTC), date:2026-11, size:>1MB, has:attachment. " +
		"What makes no sense is taken as words. Without it, all messages.",
	"message_id": "the Message-ID of the message in question, as its header has it; without it, everything that was decided",
	"retention":  "months, or none: what this would delete; without it, what the setting in force would",
	"uids":       fmt.Sprintf("the numbers of the messages in the folder, such as 5,7-20; %d at most", mostRaw),
	"uid":        "only of sent messages with this number, of whatever month",
	"account":    "for the archive (the default), or for the live mailbox",
	"incoming":   "by which protocol mail is read; imap is the default",

	"since":  "only entries of this time or a later one; it is that of the arrival, or of the import",
	"until":  "only entries of before this time",
	"newest": fmt.Sprintf("only so many, 1 to %d: the newest, and of these the newest first", MaxNewest),

	"/mailboxes/{mailbox}/practices message_id": "the Message-ID of the sent message or of a receipt, or the identifier that the provider gave; without it, all",
	"/mailboxes/{mailbox}/entries folder":       "INBOX/2026-11; INBOX for all months of it; 2026-11 for all folders of the month; without it, all folders",
	"/mailboxes/{mailbox}/entries after":        "only entries with a greater UID; the folder must be named with its month",
	"/mailboxes/{mailbox}/import folder":        "the folders of its source, with slashes between; the folder Imported of the archive has them",
	"/mailboxes/{mailbox}/import date":          "its own date, by which it is looked for; without it, that of its header, or else now",
	"/mailboxes/{mailbox}/import source":        "where it was read, such as \"Lavoro.mbox at 4711\"",
	"/mailboxes/{mailbox}/import from":          "from where all of the import comes, for the log of the mailbox; without it, source",
	"/mailboxes/{mailbox}/import quoting":       "of an mbox: whether it has quoted lines, or that its quoting was undone",
	"/mailboxes/{mailbox}/import dry_run":       "tells what would become of it, and keeps nothing",
}

func (d *describer) operation(r *Route) object {
	o := object{
		"operationId": operationID(r), "summary": r.About,
		"responses": object{"200": d.answer(r), "default": object{"$ref": "#/components/responses/Problem"}},
	}
	switch r.Right {
	case "":
	case "operate":
		o["description"] = "Over the admin socket only."
	default:
		o["description"] = fmt.Sprintf("Needs the right %q.", r.Right)
	}
	var parameters []object
	for _, p := range r.Parameters() {
		text, ok := parameterTexts[r.Path+" "+p.Name]
		if !ok {
			text, ok = parameterTexts[p.Name]
		}
		if !ok {
			d.t.Errorf("%s %s: parameterTexts does not describe %s", r.Method, r.Path, p.Name)
		}
		parameters = append(parameters, object{"name": p.Name, "in": "query", "required": p.Required, "description": text, "schema": parameterSchema(p)})
	}
	if r.Record {
		parameters = append(parameters, object{
			"name": "who", "in": "query", "schema": object{"type": "string"},
			"description": "Over the admin socket, where it is required: who acts, for the record.",
		})
	}
	if parameters != nil {
		o["parameters"] = parameters
	}
	switch r.Body.(type) {
	case nil:
	case Lines:
		o["requestBody"] = object{"content": object{"text/plain": object{"schema": object{"type": "string"}}}}
	case Content:
		o["requestBody"] = object{"content": object{r.Body.(Content).Type: object{"schema": object{"type": "string", "format": "binary"}}}}
	default:
		o["requestBody"] = object{"content": object{documentType: object{"schema": d.schema(reflect.TypeOf(r.Body))}}}
	}
	return o
}

// parameterSchema returns what may stand for what stands in Route.Takes.
func parameterSchema(p Parameter) object {
	switch {
	case p.Name == "set":
		return object{"type": "array", "items": object{"type": "string"}}
	case p.Value == "true":
		return object{"type": "boolean"}
	case p.Value == "N":
		return object{"type": "integer"}
	case strings.Contains(p.Value, "|"):
		return object{"type": "string", "enum": strings.Split(p.Value, "|")}
	}
	return object{"type": "string"}
}

func (d *describer) answer(r *Route) object {
	if content, ok := r.Answer.(Content); ok {
		return object{"description": r.About, "content": object{content.Type: object{}}}
	}
	one := d.schema(reflect.TypeOf(r.Answer))
	if !r.Many {
		return object{"description": r.About, "content": object{documentType: object{"schema": one}}}
	}
	members := object{"items": object{"type": "array", "items": one}, "problem": d.schema(reflect.TypeFor[Problem]())}
	if slices.ContainsFunc(r.Parameters(), func(p Parameter) bool { return p.Name == "after" }) {
		members["next"] = object{"type": "string", "description": "of the parameter after, for the next page; absent on the last one"}
	}
	document := object{"type": "object", "required": []string{"items"}, "properties": members}
	return object{"description": r.About, "content": object{documentType: object{"schema": document}, linesType: object{"schema": one}}}
}

// operationID returns a name for a route in camel case: "getMailboxLog".
func operationID(r *Route) string {
	path := strings.NewReplacer(one+"/messages/{folder}/{uid}", "/message", one+"/messages/{folder}", "/messages", one, "/mailbox").Replace(r.Path)
	id := strings.ToLower(r.Method)
	for _, word := range strings.FieldsFunc(path, func(c rune) bool { return !unicode.IsLetter(c) }) {
		id += strings.ToUpper(word[:1]) + word[1:]
	}
	return id
}

// schema returns the schema of what encoding/json makes of a type.
func (d *describer) schema(t reflect.Type) object {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	case t == reflect.TypeFor[Assignments]():
		return settingsSchema()
	case t.Implements(reflect.TypeFor[encoding.TextMarshaler]()):
		return object{"type": "string"}
	case t.Implements(reflect.TypeFor[json.Marshaler]()) || reflect.PointerTo(t).Implements(reflect.TypeFor[json.Marshaler]()):
		d.t.Fatalf("what JSON makes of a %s is not known here", t)
	}
	switch t.Kind() {
	case reflect.Struct:
		return object{"$ref": "#/components/schemas/" + d.component(t)}
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return object{"type": "string", "contentEncoding": "base64"}
		}
		return object{"type": "array", "items": d.schema(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": d.schema(t.Elem())}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Float64:
		return object{"type": "number"}
	case reflect.Int, reflect.Int64, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return object{"type": "integer"}
	}
	d.t.Fatalf("what JSON makes of a %s is not known here", t)
	return nil
}

// settingsSchema describes settings by their keys, with the values that each takes.
func settingsSchema() object {
	values := map[string]string{
		policy.KeyRetention: "none, or months: 6, 12, 18, 24, 30, 36, 42 or 48", policy.KeyQuota: "none, or a size with a unit, such as 5GB",
		policy.KeyFilter:    "all, a preset such as all-certified, or classes with commas between them, as GET /labels has them",
		policy.KeyProtocols: "of imap, pop3 and smtp those that stay open, with commas between them, or none",
		policy.KeyNotify:    "none, or an address, which has to be confirmed (POST confirm)", policy.KeyNotifyOn: "what is told, with commas between, as GET /labels has it, or none",
		policy.KeyLayout: policy.VocabularyLayouts, policy.KeyWhenFull: policy.VocabularyWhenFull, policy.KeyLanguage: policy.VocabularyLanguages,
	}
	properties := make(object)
	for _, key := range policy.Keys() {
		label := policy.Labels(policy.VocabularySettings).Label(key).English
		text := values[key]
		if text == "" {
			text = policy.VocabularySwitches
		}
		property := object{"type": "string", "description": label}
		if names := policy.Labels(text).Names(); len(names) > 0 {
			property["enum"] = names
		} else {
			property["description"] = label + ": " + text
		}
		properties[key] = property
	}
	return object{"type": "object", "additionalProperties": false, "properties": properties, "description": "settings with their new values; those that are not named stay as they are"}
}

// component describes a struct and returns the name of its schema.
func (d *describer) component(t reflect.Type) string {
	name := t.Name()
	if other, ok := d.types[name]; ok && other != t {
		name = strings.ToUpper(filepath.Base(t.PkgPath())[:1]) + filepath.Base(t.PkgPath())[1:] + name
	}
	if d.types[name] == t {
		return name
	}
	d.types[name] = t
	schema := object{"type": "object"}
	d.schemas[name] = schema
	properties, required := make(object), []string{}
	for _, field := range reflect.VisibleFields(t) {
		tag, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if field.Anonymous && tag == "" || !field.IsExported() || tag == "-" {
			continue
		}
		if tag == "" {
			d.t.Fatalf("%s.%s has no name in JSON", t, field.Name)
		}
		property := d.schema(field.Type)
		optional := strings.Contains(options, "omit")
		if kind := field.Type.Kind(); !optional && (kind == reflect.Slice && property["contentEncoding"] == nil && property["type"] == "array" || kind == reflect.Pointer) {
			property["type"] = []any{property["type"], "null"}
		}
		if text := d.doc(owner(t, field), field.Name); text != "" {
			property["description"] = text
		}
		properties[tag] = property
		if !optional {
			required = append(required, tag)
		}
	}
	schema["properties"] = properties
	if len(required) > 0 {
		schema["required"] = required
	}
	if text := d.doc(t, ""); text != "" {
		schema["description"] = text
	}
	return name
}

// owner returns the struct, which may be embedded, that declares a field.
func owner(t reflect.Type, field reflect.StructField) reflect.Type {
	for _, i := range field.Index[:len(field.Index)-1] {
		t = t.Field(i).Type
		for t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
	}
	return t
}

// doc returns the comment on a type, or on one of its fields.
func (d *describer) doc(t reflect.Type, field string) string {
	d.readDocs(t.PkgPath())
	key := t.PkgPath() + "." + t.Name()
	if field != "" {
		key += "." + field
	}
	return strings.ReplaceAll(d.docs[key], " Others script against its names.", "")
}

func (d *describer) readDocs(path string) {
	folder, ours := strings.CutPrefix(path, "copialettere/")
	if d.read[path] || !ours {
		return
	}
	d.read[path] = true
	files, err := filepath.Glob(filepath.Join("..", "..", filepath.FromSlash(folder), "*.go"))
	if err != nil {
		d.t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			d.t.Fatal(err)
		}
		for _, declaration := range f.Decls {
			if g, ok := declaration.(*ast.GenDecl); ok && g.Tok == token.TYPE {
				d.readTypes(path, g)
			}
		}
	}
}

func (d *describer) readTypes(path string, g *ast.GenDecl) {
	for _, spec := range g.Specs {
		spec := spec.(*ast.TypeSpec)
		key := path + "." + spec.Name.Name
		d.docs[key] = oneLine(g.Doc)
		body, ok := spec.Type.(*ast.StructType)
		if !ok {
			continue
		}
		for _, field := range body.Fields.List {
			for _, name := range field.Names {
				if d.docs[key+"."+name.Name] = oneLine(field.Doc); field.Comment != nil {
					d.docs[key+"."+name.Name] = oneLine(field.Comment)
				}
			}
		}
	}
}

func oneLine(c *ast.CommentGroup) string { return strings.Join(strings.Fields(c.Text()), " ") }

// answerSchema returns the schema of the answers of a route in a media type.
func answerSchema(t *testing.T, root object, route *Route, kind string) object {
	t.Helper()
	paths := root["paths"].(object)
	operation := paths[Prefix+route.Path].(object)[strings.ToLower(route.Method)].(object)
	content := operation["responses"].(object)["200"].(object)["content"].(object)
	schema, ok := content[kind].(object)["schema"].(object)
	if !ok {
		t.Fatalf("%s %s: no schema of %s", route.Method, route.Path, kind)
	}
	return schema
}

// validateText is validate for JSON text.
func validateText(t *testing.T, root, schema object, text []byte) {
	t.Helper()
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Errorf("%v: %s", err, text)
		return
	}
	for _, wrong := range validate(root, schema, v, "") {
		t.Errorf("not as described: %s in %.2000s", wrong, text)
	}
}

// validate returns what is wrong with a value by a schema of the description.
func validate(root, schema object, v any, at string) (wrong []string) {
	if ref, ok := schema["$ref"].(string); ok {
		return validate(root, resolve(root, ref), v, at)
	}
	kinds, ok := schema["type"].([]any)
	if !ok {
		kinds = []any{schema["type"]}
	}
	kind := kindOf(v)
	if !slices.Contains(kinds, any(kind)) && !(kind == "integer" && slices.Contains(kinds, any("number"))) {
		return []string{fmt.Sprintf("%s is %v, want %v", at, kind, kinds)}
	}
	switch v := v.(type) {
	case []any:
		for i, one := range v {
			wrong = append(wrong, validate(root, schema["items"].(object), one, fmt.Sprintf("%s[%d]", at, i))...)
		}
	case object:
		properties, _ := schema["properties"].(object)
		more, _ := schema["additionalProperties"].(object)
		for name, one := range v {
			member, known := properties[name].(object)
			if !known {
				member = more
			}
			if member == nil {
				wrong = append(wrong, at+"."+name+" is not described")
				continue
			}
			wrong = append(wrong, validate(root, member, one, at+"."+name)...)
		}
		required, _ := schema["required"].([]any)
		for _, name := range required {
			if _, ok := v[name.(string)]; !ok {
				wrong = append(wrong, at+"."+name.(string)+" is absent")
			}
		}
	case string:
		if _, err := time.Parse(time.RFC3339Nano, v); schema["format"] == "date-time" && err != nil {
			wrong = append(wrong, fmt.Sprintf("%s is %q, which is no time", at, v))
		}
	}
	return wrong
}

// kindOf returns the JSON type of a decoded value.
func kindOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case float64:
		if v == float64(int64(v)) {
			return "integer"
		}
		return "number"
	case []any:
		return "array"
	}
	return "object"
}

package httpd

import (
	"bytes"
	"encoding"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"copialettere/journal/search"
)

var update = flag.Bool("update", false, "write openapi.json")

// object is a JSON object.
type object = map[string]any

// TestOpenAPI compares the embedded description with what the table of routes and the types of their bodies and answers say, both ways, and looks
// whether it is sound in itself.
func TestOpenAPI(t *testing.T) {
	want := newDescriber(t).document()
	if *update {
		if err := os.WriteFile("openapi.json", want, 0o644); err != nil {
			t.Fatal(err)
		}
		openAPI = want
	}
	if !bytes.Equal(openAPI, want) {
		t.Fatalf("openapi.json is not what routes and types say: go test -run TestOpenAPI ./journal/httpd -update")
	}
	var d object
	if err := json.Unmarshal(openAPI, &d); err != nil {
		t.Fatal(err)
	}
	used := make(map[string]bool)
	checkRefs(t, d, d, used)
	for kind, list := range d["components"].(object) {
		for name := range list.(object) {
			if ref := "#/components/" + kind + "/" + name; kind != "securitySchemes" && !used[ref] {
				t.Errorf("nothing refers to %s", ref)
			}
		}
	}
	ids := make(map[string]bool)
	number := 0
	for path, item := range d["paths"].(object) {
		for method, operation := range item.(object) {
			if method == "parameters" {
				continue
			}
			number++
			o := operation.(object)
			id := o["operationId"].(string)
			if ids[id] {
				t.Errorf("%s %s: the operationId %s is there twice", method, path, id)
			}
			ids[id] = true
			route, ok := FindRoute(strings.ToUpper(method), strings.TrimPrefix(path, Prefix))
			if !ok {
				t.Errorf("%s %s is no route", method, path)
				continue
			}
			checkParameters(t, route, item.(object), o)
		}
	}
	if number != len(Routes()) {
		t.Errorf("%d routes are described, and there are %d", number, len(Routes()))
	}
}

// checkParameters looks whether the parameters that a description has are those that the route reads.
func checkParameters(t *testing.T, route *Route, item, operation object) {
	t.Helper()
	described := make(map[string]bool)
	for _, list := range []any{item["parameters"], operation["parameters"]} {
		all, _ := list.([]any)
		for _, p := range all {
			p := p.(object)
			described[p["in"].(string)+" "+p["name"].(string)] = true
			if p["in"] == "path" && p["required"] != true {
				t.Errorf("%s %s: the segment %s is not required", route.Method, route.Path, p["name"])
			}
		}
	}
	read := make(map[string]bool)
	for _, name := range route.Segments() {
		read["path "+name] = true
	}
	for _, p := range route.Parameters() {
		read["query "+p.Name] = true
	}
	if route.Record {
		read["query who"] = true
	}
	if !reflect.DeepEqual(described, read) {
		t.Errorf("%s %s: described are %v, read %v", route.Method, route.Path, described, read)
	}
}

// checkRefs looks whether every reference leads somewhere.
func checkRefs(t *testing.T, root object, v any, used map[string]bool) {
	t.Helper()
	switch v := v.(type) {
	case object:
		if ref, ok := v["$ref"].(string); ok {
			used[ref] = true
			if resolve(root, ref) == nil {
				t.Errorf("%s leads nowhere", ref)
			}
		}
		for _, one := range v {
			checkRefs(t, root, one, used)
		}
	case []any:
		for _, one := range v {
			checkRefs(t, root, one, used)
		}
	}
}

// resolve returns what a reference within a document leads to; nil for nothing.
func resolve(root object, ref string) object {
	at := root
	for name := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
		at, _ = at[name].(object)
	}
	return at
}

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
	"uid":        "only of sent messages with this number, of whatever month",
	"account":    "for the archive (the default), or for the live mailbox",
	"incoming":   "by which protocol mail is read; imap is the default",
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
		return object{"type": "object", "additionalProperties": object{"type": "string"}, "description": "settings with their new values"}
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

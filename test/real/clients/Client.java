// java.net.http, which offers h2c with each request. Run by: java Client.java LIST BASE…
import java.io.ByteArrayInputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Base64;

public class Client {
  static final HttpClient client = HttpClient.newHttpClient();

  static String encoded(byte[] data) {
    return Base64.getEncoder().encodeToString(data);
  }

  static String send(String base, String[] fields) throws Exception {
    var body = HttpRequest.BodyPublishers.noBody();
    if (!fields[4].isEmpty()) {
      byte[] content = Files.readAllBytes(Path.of(fields[4]));
      body = fields[5].equals("chunked")
          ? HttpRequest.BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(content))
          : HttpRequest.BodyPublishers.ofByteArray(content);
    }
    var request = HttpRequest.newBuilder(URI.create(base + fields[2])).method(fields[1], body).timeout(Duration.ofSeconds(20));
    if (fields[5].equals("expect")) request.expectContinue(true);
    for (String field : fields[3].split("\\|")) {
      int colon = field.indexOf(": ");
      if (colon > 0) request.header(field.substring(0, colon), field.substring(colon + 2));
    }
    var response = client.send(request.build(), HttpResponse.BodyHandlers.ofByteArray());
    var head = new StringBuilder();
    response.headers().map().forEach((name, values) -> values.forEach(v -> head.append(name).append(": ").append(v).append("\n")));
    return response.statusCode() + "\t" + encoded(head.toString().getBytes(StandardCharsets.ISO_8859_1)) + "\t" + encoded(response.body());
  }

  public static void main(String[] args) throws Exception {
    for (int i = 1; i < args.length; i++)
      for (String line : Files.readAllLines(Path.of(args[0]))) {
        String[] fields = line.split("\t", -1);
        String outcome;
        try {
          outcome = send(args[i], fields);
        } catch (Exception error) {
          outcome = "error\t" + encoded(error.toString().getBytes(StandardCharsets.UTF_8));
        }
        System.out.println((i - 1) + "\t" + fields[0] + "\t" + outcome);
      }
    System.exit(0);
  }
}

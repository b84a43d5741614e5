import java.util.Map;
import org.openapitools.client.ApiClient;
import org.openapitools.client.ApiException;
import org.openapitools.client.JSON;
import org.openapitools.client.api.BalancesApi;
import org.openapitools.client.api.PackagesApi;
import org.openapitools.client.api.SessionsApi;
import org.openapitools.client.api.SpendingApi;
import org.openapitools.client.api.TransactionsApi;
import org.openapitools.client.api.UsersApi;
import org.openapitools.client.model.Login;
import org.openapitools.client.model.ProblemDocument;
import org.openapitools.client.model.Register;
import org.openapitools.client.model.UseCredits;

/** Registers, logs in, spends and prints what it saw. */
public class RoundTrip {
    public static void main(String[] arguments) throws ApiException {
        String email = arguments[1];
        String password = "correct horse battery";
        ApiClient client = new ApiClient().setBasePath(arguments[0]);
        new UsersApi(client).registerUser(new Register().email(email).password(password));
        client.setBearerToken(
                new SessionsApi(client).logIn(new Login().email(email).password(password)).getAccessToken());

        long before = new BalancesApi(client).getBalance().getFreeCreditsRemaining();
        SpendingApi spending = new SpendingApi(client);
        UseCredits wish =
                new UseCredits().amount(10L).appId("tests").description("a test").metadata(Map.of("language", "Java"));
        spending.useCredits(wish, "once");
        long after = spending.useCredits(wish, "once").getNewBalance().getFreeCreditsRemaining();
        int rows = new TransactionsApi(client).listTransactions(5L, null, null, null, null).size();
        new PackagesApi(client).listPackages();
        try {
            spending.useCredits(wish.amount(1_000_000_000L), "too much");
        } catch (ApiException error) {
            String code = JSON.getGson().fromJson(error.getResponseBody(), ProblemDocument.class).getCode();
            System.out.println(before + " " + after + " " + rows + " " + code);
        }
    }
}
